from django.apps import AppConfig, apps


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "API sessions"

    def ready(self) -> None:
        # These modules need the settings and the models, which are loaded only now.
        # Importing the checks and the admin registers them.
        from accounts.checks import database, deployment, oauth, settings  # noqa: F401
        from accounts.models import EndReason, Trigger
        from accounts.signals import session_event
        from accounts.telemetry.metrics import count_event, start_at_zero

        session_event.connect(count_event, dispatch_uid="accounts.telemetry.metrics")
        start_at_zero(reasons=EndReason.values, triggers=Trigger.values)
        if apps.is_installed("django.contrib.admin"):
            from accounts.admin import sessions  # noqa: F401
