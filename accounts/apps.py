from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "API sessions"

    def ready(self) -> None:
        # Registers them; they import settings, so not before now.
        from accounts import checks, deployment_checks, oauth_checks  # noqa: F401
        from accounts.metrics import count_event
        from accounts.signals import session_event

        session_event.connect(count_event, dispatch_uid="accounts.metrics")
