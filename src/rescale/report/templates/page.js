// Tables are sorted by a click anywhere in a heading; the button in it serves the keyboard.
for (const table of document.querySelectorAll("table.sorted")) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => {
    const key = row.cells[i].dataset.key ?? row.cells[i].textContent.trim(), number = Number(key);
    return key !== "" && !Number.isNaN(number) ? number : key;
  };
  heads.forEach((head, i) => head.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    const order = now ? (now === "ascending" ? "descending" : "ascending") : head.dataset.first ?? "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    [...body.rows].sort((a, b) => {
      const x = value(a, i), y = value(b, i);
      return sign * (typeof x === "string" || typeof y === "string"
        ? String(x).localeCompare(String(y), "en", { numeric: true }) : x - y);
    }).forEach(row => body.append(row));
  }));
}

// The command is copied; where a browser forbids that for a local file, it is selected.
for (const button of document.querySelectorAll(".command button")) {
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = document.execCommand("copy") ? "copied" : "selected";
    }
  });
}

// A link to the runs of a network opens them.
const openRuns = () => {
  const runs = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (runs?.tagName === "DETAILS") {
    runs.open = true;
    runs.scrollIntoView();
  }
};
addEventListener("hashchange", openRuns);
openRuns();
// So does a point of a figure.
for (const figure of document.querySelectorAll(".figure .plotly-graph-div")) {
  figure.on("plotly_click", event => {
    const place = event.points[0]?.customdata;
    if (place) location.hash = place;
  });
}
