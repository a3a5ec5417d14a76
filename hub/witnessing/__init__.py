"""The log as others watch it: checkpoints published, cosigned, contradicted."""
