from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "API sessions"

    def ready(self) -> None:
        from accounts import checks, deployment_checks  # noqa: F401  # registers them; imports settings: not before now
