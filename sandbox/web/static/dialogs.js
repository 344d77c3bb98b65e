// The page's two dialogs. Both give the focus back to where it was.

const confirmation = document.getElementById("confirmation");
const popup = document.getElementById("popup");

export const popupContent = popup.querySelector(".content");

// Whether a person confirms what the text says.
export function confirmed(text) {
  document.getElementById("confirmation-text").textContent = text;
  confirmation.returnValue = "";
  confirmation.showModal();
  return closing(confirmation).then(() => confirmation.returnValue === "confirm");
}

// Open the popup, which has been filled already; ends as it is closed.
export function opened(title) {
  document.getElementById("popup-title").textContent = title;
  popup.showModal();
  return closing(popup);
}

export function popupIsOpen() {
  return popup.open;
}

export function closePopup() {
  popup.close();
}

function closing(dialog) {
  return new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
}
