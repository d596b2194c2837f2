"""x"""

from litestar import Controller


class AdminController(Controller):
    path = "/admin"
