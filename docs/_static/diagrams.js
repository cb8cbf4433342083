// Draws each Mermaid diagram of the page, and draws it again when the reader changes between light and dark.
(() => {
  const blocks = [...document.querySelectorAll("div.mermaid")].map(block => {
    const text = block.querySelector("pre").textContent;
    const drawing = document.createElement("div");
    drawing.className = "diagram";
    block.after(drawing);
    return {block, text, drawing};
  });
  let count = 0;
  const draw = async () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "dark" : "neutral";
    mermaid.initialize({startOnLoad: false, theme, securityLevel: "strict"});
    for (const {block, text, drawing} of blocks) {
      const {svg} = await mermaid.render(`diagram-${count++}`, text);
      drawing.innerHTML = svg;
      block.hidden = true;
    }
    document.documentElement.dataset.diagrams = theme;
  };
  let last = Promise.resolve();
  const again = () => { last = last.then(draw); };
  new MutationObserver(again).observe(document.documentElement, {attributeFilter: ["data-theme"]});
  again();
})();
