"""Preference training for foreground-conditioned inpainting; runs without the service, on any machine with torch.

Importing this package is cheap: torch and diffusers are imported by the modules that compute, never here.
"""

__version__ = "0.1.0"
