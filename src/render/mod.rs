//! Heat maps, contours, gauges and text, drawn by embedded-graphics onto any `DrawTarget`.
