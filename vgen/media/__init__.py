"""Decode, encode and assemble video files, frame-exact; numpy and PyAV, no torch."""
