"""x"""

from litestar import Controller


class MeController(Controller):
    path = "/me"
