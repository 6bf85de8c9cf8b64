from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "API sessions"

    def ready(self) -> None:
        from accounts import checks  # noqa: F401  # registers them; imports settings, so not before now
