"""The document store abstraction: one interface (`base`, `errors`) and two stores (`embedded`, `mongodb`)."""
