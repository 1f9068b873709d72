{reset} SELECT {settings}
