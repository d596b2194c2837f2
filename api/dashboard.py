"""x"""

from litestar import Controller


class DashboardController(Controller):
    path = "/dashboard"
