from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured

from accounts.conf import conf


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
        if conf.spans:
            _export_spans()


def _export_spans() -> None:
    try:
        from accounts.telemetry.span_export import export_spans
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but {error.name} is not installed. Install the dependency group "
            "`telemetry` of pyproject.toml, or set OTEL_SDK_DISABLED=true."
        ) from error
    export_spans()
