// Returns the number of texts on the page, and the texts with a contrast below 4.5:1. Opens all details elements
// and adds a mark for each urgency, because the page's own requests may not have them all.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return alpha < 1 ? null : 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  };
  const behind = (element) =>
    luminance(getComputedStyle(element).backgroundColor) ?? behind(element.parentElement);
  for (const urgency of ["overdue", "urgent", "soon", "calm"]) {
    for (const [parent, kind] of [["tbody tr:nth-child(odd) td", "due"], ["h1", "due"], ["h1", "count"]]) {
      const mark = document.createElement("span");
      mark.className = `${kind} is-${urgency}`;
      mark.textContent = urgency;
      document.querySelector(parent)?.append(mark); // a page without a table has no such parent
    }
  }
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  const found = [];
  let texts = 0;
  for (const element of document.body.querySelectorAll("*:not(svg *, svg)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    texts += 1;
    const [dark, light] = [luminance(getComputedStyle(element).color), behind(element)].sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) {
      found.push(`${element.className} ${element.textContent.trim()}: ${contrast.toFixed(2)}`);
    }
  }
  return [texts, found];
}
