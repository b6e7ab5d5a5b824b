"""The document store abstraction: one interface (`base`), two stores (`embedded`, `mongodb`)."""
