"""The settings of each program that has an image."""

from crm.settings import CrmSettings
from data_warehouse.settings import WarehouseSettings
from gateway.settings import GatewaySettings
from seaway.monitor.settings import MonitorSettings
from user_creation.settings import UserCreationSettings
from welcome_email.settings import WelcomeEmailSettings

SETTINGS = {
    "gateway": GatewaySettings,
    "user-creation": UserCreationSettings,
    "welcome-email": WelcomeEmailSettings,
    "data-warehouse": WarehouseSettings,
    "crm": CrmSettings,
    "monitor": MonitorSettings,
}
