"""The request trace as a sequence diagram: rows, captions, SVG, and the debug toolbar panel."""
