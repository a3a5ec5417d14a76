"""MQTT as gateways and hubs use it: settings, one connection, and the link that keeps one up."""
