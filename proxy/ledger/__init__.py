"""The ledger: what is known of keyed writes, durably, for all workers and over restarts.

Workers read and write it (`dataplane.keyed`), the supervisor looks after it (`controlplane.keeper`). Who gets a write
again is not decided here but in `core.idempotency` and `core.keyed`.
"""
