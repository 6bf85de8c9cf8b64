from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from config.home import home

handler403 = "config.home.forbidden"
urlpatterns = [
    path("", home, name="home"),
    path("accounts/", include("accounts.urls")),
    path("protected/", include("protected.urls")),
    path("admin/", admin.site.urls),
]
if settings.DEBUG_TOOLBAR:
    from debug_toolbar.toolbar import debug_toolbar_urls

    urlpatterns += debug_toolbar_urls()
