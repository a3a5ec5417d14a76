"""The workbench of installers and technicians."""
