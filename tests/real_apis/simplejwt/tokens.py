"""The library's tokens, except that access tokens can be made to expire before their time."""

from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.exceptions import ExpiredTokenError
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer, TokenRefreshSerializer

issued: set[str] = set()
expired: set[str] = set()


class AccessToken(tokens.AccessToken):
    def set_jti(self) -> None:
        super().set_jti()
        issued.add(self["jti"])

    def verify(self) -> None:
        super().verify()
        if self["jti"] in expired:
            raise ExpiredTokenError("Token is expired")  # as the library says it


class RefreshToken(tokens.RefreshToken):
    access_token_class = AccessToken


class ObtainSerializer(TokenObtainPairSerializer):
    token_class = RefreshToken


class RefreshSerializer(TokenRefreshSerializer):
    token_class = RefreshToken
