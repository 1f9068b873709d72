"""What crosses processes: event, headers, subjects, columns, configuration documents."""
