from django.urls import path

from accounts import views
from accounts.doctor.endpoint import doctor

app_name = "accounts"
urlpatterns = [
    path("login/", views.login, name="login"),
    path("logout/", views.logout, name="logout"),
    path("session/", views.session, name="session"),
    path("doctor/", doctor, name="doctor"),
    path("session/update/", views.update_session, name="session-update"),
]
