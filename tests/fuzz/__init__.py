"""Whatever bytes come from elsewhere, as messages, names, objects and properties files: understood, or refused."""
