"""From a sensor's scaled integers to a series': calibrations, how they are written down, and who signed them."""
