from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "API sessions"

    def ready(self) -> None:
        from accounts import checks, deployment_checks  # noqa: F401  # registers them; imports settings: not before now
        from accounts.metrics import count_event
        from accounts.signals import session_event

        session_event.connect(count_event, dispatch_uid="accounts.metrics")
