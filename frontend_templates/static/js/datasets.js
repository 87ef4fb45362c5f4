// The slider beside a number: without scripts there is only the number.

for (const slider of document.querySelectorAll("input[type=range][data-mirrors]")) {
  const field = document.getElementById(slider.dataset.mirrors);
  slider.hidden = false;
  slider.addEventListener("input", () => { field.value = Number(slider.value).toFixed(2); });
  slider.addEventListener("change", () => field.form.requestSubmit());
  field.addEventListener("input", () => { slider.value = field.value; });
}
