EXECUTE outbox_inbox_finish('{%(events)s}', %(milliseconds)d, '%(transaction)d');
