// Two images on top of each other with a divider. Without scripts they stand side by side.

for (const box of document.querySelectorAll("[data-swipe]")) {
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = "0";
  slider.max = "100";
  slider.value = "50";
  slider.setAttribute("aria-label", "Divider: how much of the left image is shown, in percent");
  const place = () => box.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", place);
  box.append(slider);
  box.classList.add("is-live");
  place();
}
