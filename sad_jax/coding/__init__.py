"""Compact files: an encoder that knows what the picture loses, and a reader that decodes what it
needs. The bytes themselves are ``storage.compact``'s."""
