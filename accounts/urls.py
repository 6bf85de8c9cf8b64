from django.urls import path

from accounts import provider_views, views
from accounts.doctor.endpoint import doctor

app_name = "accounts"
urlpatterns = [
    path("login/", views.login, name="login"),
    path("callback/", provider_views.callback, name="callback"),
    path("logout/", views.logout, name="logout"),
    path("logout/provider/", provider_views.logout_at_provider, name="logout-at-provider"),
    path("session/", views.session, name="session"),
    path("doctor/", doctor, name="doctor"),
    path("session/update/", views.update_session, name="session-update"),
]
