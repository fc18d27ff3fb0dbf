"""Bulk video enhancement: media, networks, enhancement and training, without any scheduler."""
