from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from config.home import home

# --- Your site: the addresses of your apps, such as path("orders/", include("shop.urls")) ----------------------------
# They come first, so they can replace the addresses of the project, such as the home page. Later versions of the
# project change nothing here.
urlpatterns: list[URLPattern | URLResolver] = []

# --- The project -----------------------------------------------------------------------------------------------------
handler403 = "config.home.forbidden"
handler500 = "config.home.server_error"
urlpatterns += [
    path("", home, name="home"),
    path("accounts/", include("accounts.urls")),
    path("protected/", include("protected.urls")),
    path("admin/", admin.site.urls),
]
if settings.DEBUG_TOOLBAR:
    from debug_toolbar.toolbar import debug_toolbar_urls

    urlpatterns += debug_toolbar_urls()
