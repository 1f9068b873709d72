"""The role `outbox relay`: rows to messages in order; shards, pages, fence, recovery."""
