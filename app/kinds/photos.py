"""Images without cameras. They become views (`app.run_input`) before anything else is done with them, so that nothing
but their name and how they are read differs for them."""

from recon.formats.options import PhotoOptions

NAME = "photos"
OPTIONS = PhotoOptions
