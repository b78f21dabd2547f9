// The networks' names are moved beside their points, apart from each other, whenever Plotly has drawn.
{
  const chart = document.getElementById("pareto");
  const overlap = (a, b) =>
    Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) *
    Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  const box = (left, top, width, height) => ({ left, top, width, height, right: left + width, bottom: top + height });

  const places = (x, y, width, height) => {
    const found = [];
    for (let far = 0; far < 8; far++) {
      const away = 9 + 7 * far;
      for (let turn = 0; turn < 16; turn++) {
        const angle = (turn % 2 ? turn : -turn) * Math.PI / 16 - Math.PI / 2;  // above first
        const dx = Math.cos(angle), dy = Math.sin(angle);
        found.push({ away, box: box(x + away * dx - width * (1 - dx) / 2, y + away * dy - height * (1 - dy) / 2, width, height) });
      }
    }
    return found;
  };

  const placeNames = () => {
    chart.querySelectorAll(".leader").forEach(line => line.remove());
    const frame = chart.querySelector(".nsewdrag").getBoundingClientRect();
    const names = [...chart.querySelectorAll(".scatterlayer .trace")].flatMap(trace => {
      const points = trace.querySelectorAll(".points path"), texts = trace.querySelectorAll(".text text");
      return points.length === texts.length ? [...texts].map((text, i) => ({ text, point: points[i] })) : [];
    });
    for (const name of names) {
      name.text.style.transform = name.text.style.visibility = "";
      name.mark = name.point.getBoundingClientRect();
      name.drawn = name.text.getBoundingClientRect();
    }
    const bars = [...chart.querySelectorAll(".errorbar path")].map(path => path.getBoundingClientRect());
    const obstacles = [
      ...names.map(name => name.mark),
      ...bars.map(bar => box(bar.left - 1, bar.top - 1, bar.width + 2, bar.height + 2)),
      ...[...chart.querySelectorAll(".js-line")].flatMap(along),
    ];
    const taken = [];
    for (const { text, mark, drawn } of names) {
      const x = mark.left + mark.width / 2, y = mark.top + mark.height / 2;
      let best = null, least = Infinity;
      for (const { away, box: place } of places(x, y, drawn.width, drawn.height)) {
        let cost = away + 2 * (drawn.width * drawn.height - overlap(place, frame));
        for (const other of taken) cost += 10 * overlap(place, other);
        for (const other of obstacles) cost += overlap(place, other);
        if (cost < least) [best, least] = [{ place, away }, cost];
      }
      if (!best) continue;
      if (taken.some(other => overlap(best.place, other) > 20)) {  // no room: the pointer shows it
        text.style.visibility = "hidden";
        continue;
      }
      taken.push(best.place);
      text.style.transform = `translate(${best.place.left - drawn.left}px, ${best.place.top - drawn.top}px)`;
      if (best.away > 20) leader(text, x - drawn.left, y - drawn.top, best.place, drawn);
    }
  };

  // A drawn line as small squares.
  const along = line => {
    const matrix = line.getScreenCTM(), length = line.getTotalLength(), size = 5;
    return Array.from({ length: Math.ceil(length / size) }, (_, i) => {
      const middle = line.getPointAtLength(i * size).matrixTransform(matrix);
      return box(middle.x - size / 2, middle.y - size / 2, size, size);
    });
  };

  // A thin line from a point to a name that is far from it.
  const leader = (text, x, y, place, drawn) => {
    const near = {
      x: Math.min(Math.max(x + drawn.left, place.left), place.right),
      y: Math.min(Math.max(y + drawn.top, place.top), place.bottom),
    };
    const matrix = text.parentNode.getScreenCTM().inverse();
    const at = (px, py) => new DOMPoint(px, py).matrixTransform(matrix);
    const from = at(x + drawn.left, y + drawn.top), to = at(near.x, near.y);
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    line.setAttribute("class", "leader");
    for (const [key, number] of [["x1", from.x], ["y1", from.y], ["x2", to.x], ["y2", to.y]]) line.setAttribute(key, number);
    text.parentNode.append(line);
  };

  chart.on("plotly_afterplot", placeNames);
  placeNames();
}
