"""The diagram itself: sites, canvas and the formula. In order of reading: ``sites``, ``canvas``,
``score``, ``tangent``, ``start``; ``room`` asks whether the memory is enough."""
