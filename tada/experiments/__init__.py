"""What one notebook runs: model, setting, judges and profile, a file each."""
