from django.urls import path

from protected import views

app_name = "protected"
urlpatterns = [
    path("", views.dashboard, name="dashboard"),
]
