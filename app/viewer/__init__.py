"""The viewer: a page in the browser that shows meshes, slices, points and sections, also while they are being made."""

from app.viewer.content import Content as Content
from app.viewer.content import load as load
from app.viewer.live import LivePreview as LivePreview
from app.viewer.serving import serve as serve
