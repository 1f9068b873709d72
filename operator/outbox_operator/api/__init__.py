"""The resources as types: fields, defaults, rules. CRDs and their reference come from here."""
