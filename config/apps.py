from django.contrib.admin.apps import AdminConfig as DjangosAdminConfig


class AdminConfig(DjangosAdminConfig):
    """Django's admin, with a sign-in that is limited."""

    default_site = "accounts.admin.site.StaffSite"
