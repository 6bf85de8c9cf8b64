from django.urls import path

from accounts import device_views, session_views
from accounts.doctor.endpoint import doctor
from accounts.sign_in import backchannel_logout, jwks, own_sessions, provider_views, views

app_name = "accounts"
urlpatterns = [
    path("login/", views.login, name="login"),
    path("callback/", provider_views.callback, name="callback"),
    path("logout/", views.logout, name="logout"),
    path("logout/provider/", provider_views.logout_at_provider, name="logout-at-provider"),
    path("jwks.json", jwks.jwks, name="jwks"),
    path("backchannel-logout/", backchannel_logout.backchannel_logout, name="backchannel-logout"),
    path("session/", session_views.session, name="session"),
    path("session/update/", session_views.update_session, name="session-update"),
    path("sessions/", own_sessions.sessions, name="sessions"),
    path("device/register/", device_views.register, name="device-register"),
    path("device/refresh/", device_views.refresh, name="device-refresh"),
    path("doctor/", doctor, name="doctor"),
]
