// What the theme leaves out: a name for its search, keys for what scrolls.
function name(parts, label) {
  document.querySelectorAll(parts).forEach((part, i) => part.setAttribute("aria-label", label(i)));
}
addEventListener("load", () => setTimeout(() => {
  name(".md-search", () => "Search");
  name(".md-code__nav", (i) => `Code block ${i + 1}`);
  document.querySelectorAll(".md-typeset__scrollwrap, .highlight-ipynb, pre > code").forEach((part) => {
    part.tabIndex = 0;
  });
}, 300));
