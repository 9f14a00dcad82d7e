"""What every configurable part builds on: the settings base class, YAML files, fingerprints, addresses, errors."""
