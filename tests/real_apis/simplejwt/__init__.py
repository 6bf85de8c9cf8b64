"""An API as teams with Django REST framework run it, with the tokens of djangorestframework-simplejwt."""
