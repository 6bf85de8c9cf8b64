from django.apps import AppConfig


class ProtectedConfig(AppConfig):
    name = "protected"

    def ready(self) -> None:
        from protected import checks  # noqa: F401  # registers them; imports settings, so not before now
