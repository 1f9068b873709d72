SELECT last_value FROM {sequence}
