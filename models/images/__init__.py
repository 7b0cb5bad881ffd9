"""Operations on images and masks that networks share."""
