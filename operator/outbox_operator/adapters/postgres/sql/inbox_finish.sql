EXECUTE outbox_inbox_finish('%(event)s', %(milliseconds)d, '%(transaction)d');
