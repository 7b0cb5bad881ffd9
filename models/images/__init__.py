"""Operations on images and masks that several networks share."""
